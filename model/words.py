"""The words of which the corpus composes products: its own, of no shop in particular."""

SHELVES = """
coffee:ground coffee,coffee beans,instant coffee,espresso pods|tea:green tea,black tea,herbal tea,iced tea
milk:whole milk,skim milk,oat drink,soy milk|cheese:cheddar,mozzarella,cream cheese,goat cheese
yogurt:greek yogurt,fruit yogurt,drinking yogurt|butter:salted butter,margarine,spread|eggs:large eggs,free range eggs
bread:sourdough bread,wheat bread,rolls,bagels,tortillas|cakes:cupcakes,cheesecake,donuts,muffins,pastry
cereal:corn flakes,granola,oatmeal,muesli|pasta:spaghetti,penne,lasagna,noodles|rice:basmati rice,brown rice,sushi rice
soup:tomato soup,chicken soup,broth,ramen|sauces:ketchup,mustard,salsa,mayonnaise,barbecue sauce,gravy
oil:olive oil,vegetable oil,vinegar|spices:black pepper,sea salt,chili powder,cinnamon|baking:flour,sugar,baking mix,frosting
canned vegetables:canned corn,canned beans,canned tomatoes|canned fish:tuna,sardines,salmon can
snacks:potato chips,pretzels,popcorn,tortilla chips|nuts:almonds,peanuts,mixed nuts,trail mix|crackers:saltines,rice crackers
cookies:chocolate cookies,oat cookies,wafers|candy:gummy candy,chocolate bar,mints,chewing gum,lollipops
ice cream:vanilla ice cream,sorbet,ice pops|frozen pizza:pepperoni pizza,veggie pizza|frozen meals:frozen dinner,pot pie,burritos
frozen vegetables:frozen peas,frozen fries,frozen broccoli|soft drinks:cola,lemonade,ginger ale,soda|juice:orange juice,apple juice,smoothie
water:sparkling water,spring water,mineral water|energy drinks:energy drink,sports drink|beer:lager,pale ale,stout
wine:red wine,white wine,sparkling wine|beef:ground beef,steak,roast beef|pork:pork chops,bacon,ham,ribs|poultry:chicken breast,turkey,wings
sausages:hot dogs,bratwurst,salami,lunch meat|seafood:shrimp,salmon fillet,cod,crab|fruit:apples,bananas,grapes,berries,oranges,melon
vegetables:carrots,onions,peppers,potatoes,tomatoes,broccoli|salad:lettuce,salad mix,dressing,coleslaw|herbs:basil,parsley,garlic
baby:diapers,baby food,baby wipes,baby formula|pets:dog food,cat food,cat litter,dog treats,bird seed
cleaning:dish soap,bleach,glass cleaner,sponges|laundry:detergent,fabric softener,stain remover|paper:paper towels,toilet tissue,napkins,foil
hair care:shampoo,conditioner,hair color,styling gel|skin care:hand cream,body lotion,sunscreen,lip balm|soap:bar soap,shower gel,bath salts
dental care:toothpaste,toothbrush,mouthwash|shaving:razors,shaving foam,aftershave|deodorant:antiperspirant,body spray|makeup:lipstick,mascara,nail polish
vitamins:multivitamin,fish oil,protein powder|medicine:cold remedy,pain relief,cough drops,allergy tablets,first aid
flowers:roses,bouquet,potted plant,tulips|garden:seeds,potting soil,garden gloves|kitchenware:frying pan,knife set,storage box,mug
tableware:plates,cups,cutlery,party supplies|stationery:notebook,pens,greeting cards,tape|batteries:battery pack,light bulbs,flashlight
toys:puzzle,toy car,plush bear,board game|books:novel,cookbook,magazine,comic|sports:yoga mat,tennis balls,dumbbell,running socks
shoes:sneakers,boots,sandals,slippers|shirts:shirt,blouse,sweater,hoodie|trousers:jeans,shorts,leggings|jackets:coat,raincoat,vest
bags:backpack,handbag,suitcase,wallet|jewelry:necklace,earrings,watch,bracelet|phones:smartphone,phone case,charger
audio:headphones,speaker,earbuds|computers:laptop,keyboard,mouse,monitor|lighting:desk lamp,string lights,candles|bedding:pillow,blanket,bed sheets
furniture:chair,bookshelf,side table,sofa|tools:screwdriver,drill,hammer,paint|car care:motor oil,car wash,wiper
deli:deli salad,hummus,prepared meal,sandwich|kosher:matzo,kosher wine|organic:organic snack,organic juice|mexican:taco shells,enchilada sauce,refried beans
asian:soy sauce,kimchi,dumplings,curry paste|breakfast:pancake mix,syrup,waffles,breakfast bar|jam:strawberry jam,honey,peanut butter
咖啡:研磨咖啡,咖啡豆,速溶咖啡|茶叶:绿茶,红茶,乌龙茶|牛奶:纯牛奶,酸奶,豆浆|零食:薯片,坚果,饼干,糖果|水果:苹果,香蕉,葡萄,橙子
蔬菜:胡萝卜,土豆,番茄,生菜|饮料:果汁,汽水,矿泉水|洗护:洗发水,沐浴露,牙膏|清洁:洗衣液,洗洁精,纸巾|鲜肉:牛肉,猪肉,鸡胸肉|服装:衬衫,外套,牛仔裤|数码:耳机,手机壳,键盘
"""
"""`category:types` of a shelf, shelves separated by bars and lines."""

HIERARCHY: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
    (shelf.split(":")[0], tuple(shelf.split(":")[1].split(",")))
    for shelf in SHELVES.strip().replace("\n", "|").split("|")
)

MODIFIERS = """fresh organic classic premium light natural large small family mini original extra rich smooth dark mild spicy sweet
salted roasted smoked creamy crunchy soft whole pure simple daily deluxe golden royal frozen dry ripe tender crisp vegan
unsweetened sugar-free gluten-free seasonal imported local handmade value jumbo single double instant traditional""".split()

BRAND_STARTS = (
    "al bo ca del en fa gra ha il jo ka lu ma no or pe qui ro sa tu ve wil xan yo zel nor ster bri clo dro".split()
)
BRAND_ENDS = "ra mond lin vex ta bel dor nia mark sen field ton berg ella way ford ora nix stad well".split()

OCCASIONS = "spring summer autumn winter weekend holiday family breakfast party back-to-school new-year harvest garden picnic".split()
CAMPAIGN_NOUNS = "week days festival special fair selection event sale feast".split()
